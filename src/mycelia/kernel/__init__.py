"""Messages between subsystems; knows no socket."""
