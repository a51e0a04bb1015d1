"""`python -m hyena_ray JOB ...` is the command `hyena-ray JOB ...`."""

from hyena_ray.cli import main

if __name__ == "__main__":
    main()
