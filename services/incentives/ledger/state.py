"""What the numbers of the ledger are, for `shared.state`: released lines, their postings, and what these add up to."""

from .rules import ACCOUNTS

_KINDS = ", ".join(f'trim_scale("{kind}")' for kind in ACCOUNTS)
LEDGER = {
    "balance": f"""
        SELECT company, '' AS period, currency || ' ' || payee || ' ' || plan AS key,
        jsonb_build_array({_KINDS}) AS value FROM balance""",
    "booked": """
        SELECT company, period, plan || ' ' || payee AS key, jsonb_build_array(trim_scale(amount), version) AS value
        FROM booked""",
    "payout run": """
        SELECT company, period, code AS key, jsonb_build_array(currency, promised, status, lines, trim_scale(total),
        hash, released_by, released_on) AS value FROM payout_run WHERE status IN ('released', 'settled')""",
    "payout line": """
        SELECT l.company, r.period, run || ' ' || line AS key, jsonb_build_array(payee, plan, trim_scale(amount),
        account, l.status, paid_on, answer) AS value FROM payout_line l JOIN payout_run r
        ON (r.company, r.code) = (l.company, run) WHERE l.status <> 'open'""",
    "posting": """
        SELECT company, '' AS period, concat_ws(' ', run, line, entry, number) AS key, jsonb_build_array(debit,
        debit_payee, credit, credit_payee, trim_scale(amount), currency, cause, day) AS value FROM posting""",
}
