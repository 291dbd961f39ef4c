package app_test

import (
	"os/exec"
	"syscall"
)

// tied makes a process end with the test, even one that was interrupted.
func tied(cmd *exec.Cmd) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}
