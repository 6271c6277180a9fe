"""What users call, one noun or verb a file; `ray_on_dask` shows it all."""
