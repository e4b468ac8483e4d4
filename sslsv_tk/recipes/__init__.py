"""What a recipe decides before its first stage: from the options of run.sh to a plan, without torch."""
