"""HTML pages and charts of the reports of training and comparison."""
