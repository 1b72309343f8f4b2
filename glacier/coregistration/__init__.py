"""Where each scene lies: pairs of scenes, joint adjustment, and which corrections are believed."""
