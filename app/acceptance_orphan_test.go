//go:build !linux

package app_test

import "os/exec"

func tied(cmd *exec.Cmd) *exec.Cmd { return cmd }
