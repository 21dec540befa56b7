"""The `nudge` command. One small file a subcommand, each imported when it is called."""
