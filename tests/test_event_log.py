"""What libevent says goes to a logger, never to stderr."""
