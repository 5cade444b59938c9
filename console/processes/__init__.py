"""What the console runs: a gate and a worker in processes of their own, and the file that configures them."""
