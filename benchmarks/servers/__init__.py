"""The servers under test, and how each server of a run is started and surely stopped."""
