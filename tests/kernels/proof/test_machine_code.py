"""Loops in machine code: from text as nvdisasm prints it, and from binaries with known trip counts."""

import pytest

from spikevrt_kernels.proof.machine_code import instructions_of, loop_tree, products_aside, register_operands

NESTED = """
        /*0000*/                   MOV R1, c[0x0][0x28] ;
.L_x_outer:
        /*0010*/                   FADD R2, R2, R3 ;
        /*0020*/              @!P0 BRA `(.L_x_after) ;
.L_x_inner:
        /*0030*/                   MUFU.EX2 R4, R4 ;
        /*0040*/                   FFMA R5, R5, R6, R7 ;
        /*0050*/               @P1 BRA `(.L_x_inner) ;
.L_x_after:
        /*0060*/               @P2 BRA `(.L_x_outer) ;
        /*0070*/                   EXIT ;
.L_x_end:
        /*0080*/                   BRA `(.L_x_end);
        /*0090*/                   NOP ;
"""
WAITING = """
.L_x_loop:
        /*0000*/                   FADD R2, R2, R3 ;
{body}
        /*0010*/                   SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [UR4], R3 ;
        /*0020*/              @!P0 BRA `(.L_x_slow) ;
.L_x_back:
        /*0030*/                   FADD R2, R2, R3 ;
        /*0040*/               @P1 BRA `(.L_x_loop) ;
        /*0050*/                   EXIT ;
.L_x_slow:
        /*0060*/                   SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [UR4], R3 ;
        /*0070*/              @!P0 BRA `(.L_x_slow) ;
        /*0080*/                   BRA `(.L_x_back) ;
""".format(body="        /*0008*/                   FMUL R4, R4, R4 ;\n" * 20)


def test_loops_nest_and_what_is_behind_the_end_belongs_to_none():
    code = instructions_of(NESTED)
    assert len(code) == 10
    whole = loop_tree(code)
    assert whole.shape == (((),),)
    outer = whole.inner[0]
    assert sorted(outer.body) == [1, 2, 3, 4, 5, 6]
    assert sorted(outer.inner[0].body) == [3, 4, 5]
    assert sorted(outer.own) == [1, 2, 6]
    assert sorted(whole.own) == [0, 7], "no instruction behind the end"


def test_waiting_aside_is_no_loop():
    """A jump back from code behind the kernel's end, to where its wait is over, looks like a loop and is none."""
    whole = loop_tree(instructions_of(WAITING))
    assert whole.shape == ((),), "the loop around the wait alone"
    assert len(whole.inner[0].body) == 20 + 8


CHOOSING = """
        /*0000*/                   MOV R0, RZ ;
.L_x_0:
        /*0010*/                   HMMA R4, R8, R12, R4 ;
        /*0020*/                   BRX R2 -0x30                  (*"BRANCH_TARGETS .L_x_1,.L_x_2,.L_x_3"*) ;
.L_x_1:
        /*0030*/                   HMMA R16, R8, R12, R16 ;
        /*0040*/                   BRA `(.L_x_4) ;
.L_x_2:
        /*0050*/                   HMMA R20, R8, R12, R20 ;
        /*0060*/                   BRA `(.L_x_4) ;
.L_x_3:
        /*0070*/                   IADD3 R1, R1, 0x1, RZ ;
.L_x_4:
        /*0080*/              @!P0 BRA `(.L_x_0) ;
        /*0090*/                   EXIT ;
"""


def test_products_that_a_turn_can_go_around():
    code = instructions_of(CHOOSING)
    (loop,) = loop_tree(code).inner
    assert sorted(loop.body) == list(range(1, 9))
    assert sorted(products_aside(code, loop)) == [3, 4, 5, 6]


def test_a_jump_to_nowhere_is_refused():
    with pytest.raises(RuntimeError, match="BRX"):
        instructions_of("        /*0000*/                   BRX R2 -0x10 ;")


def test_products_of_registers_are_told_from_those_of_memory():
    lines = (
        "HGMMA.64x32x16.F32.BF16 R24, R48, gdesc[UR4], RZ, !UPT, gsb0 ;",
        "HGMMA.64x16x16.F32.BF16 R40, R24, gdesc[UR4].tnspB, R40 ;",
        "HGMMA.64x16x16.F32.BF16 R40, gdesc[UR8].tnspA, R40 ;",
        "HMMA.16816.F32.BF16 R4, R8, R12, R4 ;",
    )
    assert register_operands("\n".join(lines)) == 2
