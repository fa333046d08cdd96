"""Parts that tricks are built from; nothing else imports them."""
