// void creel_call_published(Registers* registers, void (*wait)(void*), void* argument)
//
// Stores what the caller's frame looks like once this call has returned, then becomes the call of wait(argument): the
// jump keeps the caller's return address, so no frame of ours lies between the two and none has to be unwound.
// The order of the stores is that of struct Registers in thread_record.hpp.

#if !defined(__x86_64__)
#error "creel::runtime knows x86-64 only"
#endif

        .text
        .globl  creel_call_published
        .hidden creel_call_published
        .type   creel_call_published, @function
        .p2align 4
creel_call_published:
        .cfi_startproc
        endbr64
        movq    (%rsp), %rax            // rip: where the caller goes on
        leaq    8(%rsp), %rcx           // rsp: as it is after the return
        movq    %rax, 0(%rdi)
        movq    %rcx, 8(%rdi)
        movq    %rbp, 16(%rdi)
        movq    %rbx, 24(%rdi)
        movq    %r12, 32(%rdi)
        movq    %r13, 40(%rdi)
        movq    %r14, 48(%rdi)
        movq    %r15, 56(%rdi)
        movq    %rdx, %rdi
        jmpq    *%rsi
        .cfi_endproc
        .size   creel_call_published, .-creel_call_published

        .section .note.GNU-stack, "", @progbits
