"""From a STAC archive to scenes on the glacier's grid."""
