"""What each stage shows on the glacier's page, and the page."""
