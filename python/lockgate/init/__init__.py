"""The command `lockgate init`: a first lockgate.toml for the project in a directory."""
