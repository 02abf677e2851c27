"""What mailsync costs, measured beside a floor or a rival in the same run."""
