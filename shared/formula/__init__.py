"""A safe, exact expression language: formulas of derived metrics, and mapping expressions over event data."""

from shared.formula.compile import Lookup, compile_formula, compile_mapping
from shared.formula.functions import FORMULA, MAPPING
from shared.formula.graph import CycleFound, find_cycle, topological_order
from shared.formula.syntax import Expression, FormulaError, Function, parse
from shared.formula.unit_inference import infer_unit
from shared.formula.values import Null, Outcome, Value

__all__ = [
    "FORMULA",
    "MAPPING",
    "CycleFound",
    "Expression",
    "FormulaError",
    "Function",
    "Lookup",
    "Null",
    "Outcome",
    "Value",
    "compile_formula",
    "compile_mapping",
    "find_cycle",
    "infer_unit",
    "parse",
    "topological_order",
]
