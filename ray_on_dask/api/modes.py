"""Modes of a driver, as the old API numbers them."""

#: Tasks run in executors; errors are printed in the background.
SCRIPT_MODE = 0
#: What an executor is in.
WORKER_MODE = 1
#: Everything runs serially in the driver, for debugging.
PYTHON_MODE = 2
LOCAL_MODE = PYTHON_MODE
#: As SCRIPT_MODE, without errors printed in the background.
SILENT_MODE = 3
