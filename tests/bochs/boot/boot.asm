; The boot sector: loads SECTORS sectors behind it to 0x10000, maps the first 4 GiB one to one, enters 64-bit mode and jumps
; there. The eight bytes at 0x7df0 are the seed, which tests/bochs/run writes into the disk image.
bits 16
org 0x7c00
    cli
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, 0x7c00
    mov [drive], dl
    in al, 0x92                 ; address line 20, without which every other megabyte is missing
    or al, 2
    and al, 0xfe
    out 0x92, al
load:
    mov cx, [left]
    jcxz loaded
    cmp cx, 64
    jbe .last
    mov cx, 64
.last:
    mov [packet.sectors], cx
    mov si, packet
    mov dl, [drive]
    mov ah, 0x42                ; extended read
    int 0x13
    jc failed
    mov cx, [packet.sectors]
    sub [left], cx
    add [packet.block], cx
    shl cx, 5                   ; sectors to paragraphs
    add [packet.segment], cx
    jmp load
failed:
    mov al, '!'
    out 0xe9, al
    hlt
    jmp failed
loaded:
    cli                         ; the BIOS may have enabled interrupts
    lgdt [gdt_pointer]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp 8:protected
bits 32
protected:
    mov ax, 16
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov edi, 0x1000             ; page tables: 0x1000, 0x2000, and four with 2 MiB pages from 0x3000 on
    mov ecx, 0x6000 / 4
    xor eax, eax
    rep stosd
    mov dword [0x1000], 0x2003
    mov edi, 0x2000
    mov eax, 0x3003
    mov ecx, 4
.directories:
    mov [edi], eax
    add edi, 8
    add eax, 0x1000
    loop .directories
    mov edi, 0x3000
    mov eax, 0x83
    mov ecx, 2048
.pages:
    mov [edi], eax
    add edi, 8
    add eax, 0x200000
    loop .pages
    mov eax, 0x1000
    mov cr3, eax
    mov eax, 0x620              ; PAE, OSFXSR, OSXMMEXCPT: compiled Rust uses SSE
    mov cr4, eax
    mov ecx, 0xc0000080         ; IA32_EFER.LME
    rdmsr
    or eax, 0x100
    wrmsr
    mov eax, 0x80000033         ; PG, NE, ET, MP, PE
    mov cr0, eax
    jmp 24:sixty_four
bits 64
sixty_four:
    mov rsp, 0x90000
    mov eax, 0x10000
    jmp rax
align 8
gdt: dq 0, 0x00cf9a000000ffff, 0x00cf92000000ffff, 0x00af9a000000ffff
gdt_pointer:
    dw $ - gdt - 1
    dd gdt
drive: db 0
left: dw SECTORS
packet:
    db 16, 0
.sectors: dw 0
    dw 0
.segment: dw 0x1000
.block: dq 1
    times 0x1f0 - ($ - $$) db 0
seed: dq 1
    times 510 - ($ - $$) db 0
    dw 0xaa55
