"""Hook points, verdicts, ordering, deadlines and discovery; the Session and Transaction that plugins see."""
