/* The guest under load: it pauses or halts, and its handlers count. After as many interrupts as it is told it calls. */
.text
.global load_start
load_start:
    sti
1:  cmp qword ptr [{left}], 0
    jle 3f
    cmp qword ptr [{halts}], 0
    je 2f
    hlt
    jmp 1b
2:  pause
    jmp 1b
3:  vmcall
    jmp 1b

.Lload_handler:
    push rax
    push rcx
    push rdx
    movzx eax, byte ptr [rsp + 24]
    lock inc qword ptr [{delivered} + rax * 8]
    lock dec qword ptr [{left}]
    mov ecx, 0x80b                  /* EOI */
    xor eax, eax
    xor edx, edx
    wrmsr
    pop rdx
    pop rcx
    pop rax
    add rsp, 8
    iretq

.balign 16
.global load_stubs
load_stubs:
.set vector, 0
.rept 256
    .byte 0x68
    .long vector
    .byte 0xe9
    .long .Lload_handler - . - 4
    .balign 16
    .set vector, vector + 1
.endr

/* Interrupts of the image itself, between guests: the wake-up vector is counted for its CPU, the notification is dropped. */
.balign 16
.global host_woken
host_woken:
    push rax
    push rcx
    push rdx
    mov ecx, 0x802                  /* the local APIC's number */
    rdmsr
    lock inc qword ptr [{wake_ups} + rax * 8]
    jmp 4f
.balign 16
.global host_notified
host_notified:
    push rax
    push rcx
    push rdx
4:  mov ecx, 0x80b
    xor eax, eax
    xor edx, edx
    wrmsr
    pop rdx
    pop rcx
    pop rax
    iretq
