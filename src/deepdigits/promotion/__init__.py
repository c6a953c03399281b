"""Promotion as a decision backed by evidence: rules, records and ledger, plus recovery, audit and verification."""
