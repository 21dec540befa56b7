"""What a whole job may spend, and what it spent: hard caps, held before each request."""

from nudge_client.spending.metered import Metered
from nudge_client.spending.purse import Amount, Purse, Reservation
from nudge_client.spending.spent import Spent

__all__ = ["Amount", "Metered", "Purse", "Reservation", "Spent"]
