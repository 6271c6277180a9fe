"""Pages of this package's on Dask's dashboard; they import Bokeh, so nothing imports them early."""
