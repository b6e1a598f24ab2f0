"""Shows a Report: pure functions from the model to Markdown, HTML, text and JSON, each within a byte budget."""
