"""What is fitted after training: corrections of the ratio, a detector of misfits."""
