// void creel_switch_stacks(void** from, void* to)
//
// Saves what the System V ABI wants kept over a call (the callee-saved registers and the control words of SSE and
// x87) on the running stack, stores the stack pointer in *from, and goes on where `to` was saved.
//
// It ends with a return, not with a jump to the return address: the processor predicts returns by the calls it has
// seen, and two threads that wait in the same function have the same return addresses on their stacks. A jump would
// leave one call without its return, and every return after it would be predicted one frame too early.

#if !defined(__x86_64__)
#error "creel::runtime knows x86-64 only"
#endif

        .text
        .globl  creel_switch_stacks
        .hidden creel_switch_stacks
        .type   creel_switch_stacks, @function
        .p2align 4
creel_switch_stacks:
        .cfi_startproc
        endbr64
        pushq   %rbp
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbp, 0
        pushq   %rbx
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbx, 0
        pushq   %r12
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r12, 0
        pushq   %r13
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r13, 0
        pushq   %r14
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r14, 0
        pushq   %r15
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r15, 0
        subq    $8, %rsp
        .cfi_adjust_cfa_offset 8
        stmxcsr (%rsp)
        fnstcw  4(%rsp)
        movl    (%rsp), %eax
        movzwl  4(%rsp), %ecx
        movq    %rsp, (%rdi)
        movq    %rsi, %rsp              // the same layout over there
        // Loading a control word stops the processor for longer than the rest takes, and nearly always it is the
        // same one. The low six bits of SSE's are flags, which nobody has to keep.
        xorl    (%rsp), %eax
        testl   $0xffffffc0, %eax
        jne     1f
        cmpw    4(%rsp), %cx
        jne     1f
2:      .cfi_remember_state
        addq    $8, %rsp
        .cfi_adjust_cfa_offset -8
        popq    %r15
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r15
        popq    %r14
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r14
        popq    %r13
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r13
        popq    %r12
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r12
        popq    %rbx
        .cfi_adjust_cfa_offset -8
        .cfi_restore %rbx
        popq    %rbp
        .cfi_adjust_cfa_offset -8
        .cfi_restore %rbp
        ret
        .cfi_restore_state
1:      ldmxcsr (%rsp)
        fldcw   4(%rsp)
        jmp     2b
        .cfi_endproc
        .size   creel_switch_stacks, .-creel_switch_stacks

// Where the first switch to a new stack returns to: calls %r12(%r13), which never returns. The outermost frame.

        .globl  creel_new_stack
        .hidden creel_new_stack
        .type   creel_new_stack, @function
        .p2align 4
creel_new_stack:
        .cfi_startproc
        .cfi_undefined %rip
        endbr64
        xorl    %ebp, %ebp
        movq    %r13, %rdi
        callq   *%r12
        ud2
        .cfi_endproc
        .size   creel_new_stack, .-creel_new_stack

        .section .note.GNU-stack, "", @progbits
