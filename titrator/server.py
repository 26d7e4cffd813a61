"""The web server: gunicorn with threads, in the settings of the installation."""
