"""The drift watch: live traffic beside what the champion was validated on."""
