"""What mirrors `ray.util`, module by module, written against the public API."""
