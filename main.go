// Holdfast keeps many tenants' data in sealed stores and proves what it
// promises. Everything is assembled in package app.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"holdfast/app"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := app.Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
