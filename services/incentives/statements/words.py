"""What printed statements say, in English and Chinese; terms are those of docs/glossary.md."""

from collections.abc import Mapping
from typing import Literal

Language = Literal["en", "zh-CN"]
WORDS: Mapping[str, tuple[str, str]] = {
    "statement": ("Statement", "奖金对账单"),
    "payee": ("Payee", "收款方"),
    "period": ("Period", "期间"),
    "run": ("Payout run", "发放批次"),
    "released_on": ("Released on", "发放日期"),
    "code_version": ("Software version", "软件版本"),
    "plan": ("Plan", "激励方案"),
    "pool": ("Pool", "奖金池"),
    "award": ("Award", "专项奖励"),
    "amount": ("Amount", "金额"),
    "payable": ("Payable", "应付"),
    "held": ("Held", "暂扣"),
    "carried": ("Carried forward", "结转"),
    "draw": ("Advance outstanding", "未收回预支"),
    "expense": ("Accrued", "已计提"),
    "promised": ("To be paid by", "承诺支付日"),
    "why": ("Why it is not paid", "未支付原因"),
    "regular": ("For this period", "本期"),
    "adjustment": ("Adjustment of earlier periods", "前期调整"),
    "advance": ("Advance given", "本期预支"),
    "granted": ("Advance given, not recovered", "不收回的预支"),
    "recovered": ("Advance recovered", "收回预支"),
    "clawed_back": ("Clawed back", "追回"),
    "opening": ("Before", "期初"),
    "closing": ("After", "期末"),
    "driver": ("Driver", "驱动值"),
    "curve": ("Curve", "曲线"),
    "at": ("at", "自变量"),
    "gives": ("gives", "结果"),
    "segment": ("Segment", "区段"),
    "rounding": ("Rounding", "舍入"),
    "digits": ("decimals", "小数位"),
    "override": ("Override", "人工核定"),
    "version": ("version", "版本"),
    "before": ("before", "之前"),
    "after": ("after", "之后"),
    "cause": ("What moved", "变动原因"),
    "calculation": ("Calculation", "计算过程"),
    "step": ("Step", "步骤"),
    "value": ("Value", "数值"),
    "how": ("How", "说明"),
    "reversed": ("Taken back since the last statement", "上次对账后撤回"),
    "merged": ("Taken over from", "合并自"),
    "year_to_date": ("Year to date", "本年累计"),
    "entitled": ("Entitled", "应得"),
    "total": ("Total", "合计"),
    "hash": ("Hash (SHA-256)", "校验值（SHA-256）"),
    "previous": ("Hash of the statement before", "上一份对账单的校验值"),
    "none": ("none", "无"),
    "unnamed": ("Plan", "激励方案"),
}


def word(name: str, language: Language) -> str:
    """A label; the name itself where none is known."""
    found = WORDS.get(name)
    return name if found is None else found[language == "zh-CN"]
