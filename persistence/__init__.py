"""Settings, tables, repositories, the job state machine and the object store. Imports no torch."""
