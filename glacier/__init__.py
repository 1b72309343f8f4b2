"""What the scripts are made of; docs/ARCHITECTURE.md says which room holds what."""


def open(name: str):
    """Return a glacier's results as xarray data sets: `composites`, `forecast`, `velocity`, and `table`.

    name : its folder under datasets/. GlacierError if alignment.py has not run for it.
    """
    import config
    from glacier.export import Opened

    return Opened(config.load(config.Config, name=name))
