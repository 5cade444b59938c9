"""What a gate shows of itself while it runs, to a console or to whoever moves cameras about; it knows neither."""
