"""What a network sees: a glacier's series and patches, what is known besides, batches."""
