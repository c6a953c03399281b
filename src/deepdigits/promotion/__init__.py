"""Promotion as a decision with evidence: rules, records, ledger, and what undoes or checks them."""
