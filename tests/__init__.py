"""The tests: a folder a room, and the services that they run against."""
