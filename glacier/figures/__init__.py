"""Pictures of arrays; they know no stage."""
