"""Pictures: overlays, legends, text, sheets."""
