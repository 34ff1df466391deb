# terraform test: stands for the startup script
