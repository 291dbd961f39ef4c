package app

import (
	goflag "flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var update = goflag.Bool("update", false, "write the manual's page of commands anew")

// TestCommandsPage: `go test ./app -run CommandsPage -update` writes it.
func TestCommandsPage(t *testing.T) {
	const file, begin, end = "../ui/docs/90-commands.md", "<!-- commands -->\n\n", "<!-- /commands -->"
	before, rest, ok := strings.Cut(read(t, file), begin)
	old, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no marks", file)
	}
	now := commandsPage(manualRoot())
	if *update {
		must(t, os.WriteFile(file, []byte(before+begin+now+end+after), 0o600))
	} else if old != now {
		t.Error("the page of commands is not that of the commands; -update writes it")
	}
}

func manualRoot() *cobra.Command {
	root := (&cli{}).root()
	root.InitDefaultCompletionCmd("completion")
	return root
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	must(t, err)
	return string(b)
}

// commandsPage is every command with its flags, by chapter of the help.
func commandsPage(root *cobra.Command) string {
	var index, text strings.Builder
	for _, chapter := range root.Groups() {
		title := strings.TrimSuffix(chapter.Title, ":")
		fmt.Fprintf(&index, "**%s:**", title)
		fmt.Fprintf(&text, "## %s\n\n", title)
		for _, cmd := range root.Commands() {
			if cmd.GroupID == chapter.ID {
				fmt.Fprintf(&index, " [%s](#%s)", cmd.Name(), cmd.Name())
				writeCommands(&text, cmd)
			}
		}
		index.WriteString("\n\n")
	}
	return index.String() + text.String()
}

func writeCommands(b *strings.Builder, cmd *cobra.Command) {
	fmt.Fprintf(b, "### %s\n\n", cmd.Name())
	if !cmd.HasSubCommands() {
		writeCommand(b, cmd)
		return
	}
	if cmd.HasLocalFlags() {
		writeCommand(b, cmd) // itself a command beside the others
	} else {
		fmt.Fprintf(b, "%s.\n\n", escaped(cmd.Short))
	}
	for _, sub := range cmd.Commands() {
		if !sub.HasSubCommands() {
			writeCommand(b, sub)
			continue
		}
		for _, leaf := range sub.Commands() {
			writeCommand(b, leaf)
		}
	}
}

func writeCommand(b *strings.Builder, cmd *cobra.Command) {
	fmt.Fprintf(b, "#### `%s`\n\n", cmd.UseLine())
	fmt.Fprintf(b, "%s.\n\n", escaped(cmd.Short))
	for _, paragraph := range strings.Split(cmd.Long, "\n\n") {
		switch {
		case paragraph == "":
		case strings.HasPrefix(paragraph, " ") || strings.Contains(paragraph, "\n "):
			fmt.Fprintf(b, "```text\n%s\n```\n\n", paragraph)
		default:
			fmt.Fprintf(b, "%s\n\n", escaped(paragraph))
		}
	}
	flags := 0
	cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" {
			fmt.Fprintf(b, "- %s\n", flagText(f))
			flags++
		}
	})
	if flags > 0 {
		b.WriteString("\n")
	}
}

func flagText(f *pflag.Flag) string {
	value, about := pflag.UnquoteUsage(f)
	name := "--" + f.Name
	if f.Shorthand != "" {
		name = "-" + f.Shorthand + ", " + name
	}
	if value != "" {
		name += " " + value
	}
	text := fmt.Sprintf("`%s` %s", name, escaped(about))
	if !slices.Contains([]string{"", "-", "false", "0"}, f.DefValue) {
		text += fmt.Sprintf(" (`%s` where it is not given)", f.DefValue)
	}
	return text
}

// escaped keeps Markdown from reading anything into plain words.
func escaped(text string) string {
	return strings.NewReplacer("*", `\*`, "_", `\_`, "<", `\<`, "[", `\[`).Replace(text)
}

// TestEveryFlagNamesItsValue: the help says "--target NAME", never "--target string".
func TestEveryFlagNamesItsValue(t *testing.T) {
	everyCommand((&cli{}).root(), func(cmd *cobra.Command) {
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if value, _ := pflag.UnquoteUsage(f); value != strings.ToUpper(value) && !strings.Contains(value, "|") {
				t.Errorf("%s --%s takes a %q; give it a name in cli_help.go", cmd.CommandPath(), f.Name, value)
			}
		})
	})
}

// TestEveryCommandIsExplained: each has a sentence of its own, and takes part in the help.
func TestEveryCommandIsExplained(t *testing.T) {
	root := (&cli{}).root()
	everyCommand(root, func(cmd *cobra.Command) {
		if cmd.Short == "" || cmd.Args == nil || cmd.RunE == nil || cmd.Parent() == root && cmd.GroupID == "" {
			t.Errorf("%s: short %q", cmd.CommandPath(), cmd.Short)
		}
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s --%s is not explained", cmd.CommandPath(), f.Name)
			}
		})
	})
}

var (
	fence      = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```")
	codeSpan   = regexp.MustCompile("`(holdfast [^`]+)`")
	formatName = regexp.MustCompile(`\bv\d+$`) // "holdfast ledger entry v1" is none
	invocation = regexp.MustCompile(`(?m)(?:^\s*|[|(;]\s*|&&\s*|=\$\()(?:\./)?holdfast (.*)$`)
	shellEnd   = regexp.MustCompile(`\s#\s.*$|\s(?:[|<>]|>>|&&|\|\|)(?:\s.*)?$|;.*$`)
	shellWord  = regexp.MustCompile(`'[^']*'|"[^"]*"|[^\s'"]+`)
)

// TestManualNamesRealCommands: what README, manual and rooms say of the command line is
// there. Blocks of sh (which other tests run) and shell are parsed as the command line
// would parse them; unnamed blocks and spans are synopses.
func TestManualNamesRealCommands(t *testing.T) {
	for _, file := range manuals(t) {
		text := read(t, file)
		for _, block := range fence.FindAllStringSubmatch(text, -1) {
			for _, m := range invocation.FindAllStringSubmatch(strings.ReplaceAll(block[2], "\\\n", " "), -1) {
				switch block[1] {
				case "sh", "shell":
					checkLine(t, file, m[1])
				case "":
					checkSynopsis(t, file, m[1])
				}
			}
		}
		for _, m := range codeSpan.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
			if formatName.MatchString(m[1]) || strings.HasPrefix(m[1], "holdfast COMMAND") {
				continue
			}
			checkSynopsis(t, file, strings.Join(strings.Fields(m[1])[1:], " "))
		}
	}
}

// checkSynopsis takes "snapshot now|list TENANT | overview" apart.
func checkSynopsis(t *testing.T, file, line string) {
	t.Helper()
	group, _, _ := strings.Cut(line, " ")
	for i, part := range strings.Split(line, " | ") {
		if i > 0 {
			part = group + " " + part
		}
		checkWords(t, file, part)
	}
}

// manuals are the files that tell of commands, but the page that is made from them.
func manuals(t *testing.T) []string {
	t.Helper()
	files := []string{"../README.md"}
	for _, pattern := range []string{"../ui/docs/*.md", "../*/README.md", "../*/*/README.md", "../*/*/*/README.md"} {
		found, err := filepath.Glob(pattern)
		must(t, err)
		files = append(files, found...)
	}
	return slices.DeleteFunc(files, func(f string) bool {
		return strings.HasSuffix(f, "90-commands.md") || strings.Contains(f, "node_modules")
	})
}

// checkWords wants the words to lead to a command that has these flags: "a|b ID" to two
// commands. Brackets are left out.
func checkWords(t *testing.T, file, line string) {
	t.Helper()
	line = strings.NewReplacer("[", " ", "]", " ", "...", "").Replace(shellEnd.ReplaceAllString(line, ""))
	top := manualRoot()
	cmd, at := top, top
	for _, word := range shellWord.FindAllString(line, -1) {
		for i, part := range alternatives(top, cmd, word) {
			if i > 0 {
				cmd = at
			}
			switch next := child(cmd, part); {
			case next != nil:
				at, cmd = cmd, next
			case strings.HasPrefix(part, "-"):
				name, _, _ := strings.Cut(strings.TrimLeft(part, "-"), "=")
				if lookup(cmd, name) == nil {
					t.Errorf("%s: holdfast %s: %s has no flag --%s", file, line, cmd.CommandPath(), name)
				}
			case cmd.HasSubCommands() && cmd.HasParent() && !cmd.HasLocalFlags() || cmd == top:
				t.Errorf("%s: holdfast %s: %s has no command %q", file, line, cmd.CommandPath(), part)
			}
		}
	}
}

// alternatives splits "list|show" where the first is a command of cmd.
func alternatives(top, cmd *cobra.Command, word string) []string {
	parts := strings.Split(word, "|")
	if cmd == top || child(cmd, parts[0]) != nil {
		return parts
	}
	return []string{word}
}

func child(cmd *cobra.Command, name string) *cobra.Command {
	for _, sub := range cmd.Commands() {
		if sub.Name() == name {
			return sub
		}
	}
	return nil
}

func lookup(cmd *cobra.Command, name string) *pflag.Flag {
	if len(name) == 1 {
		return cmd.Flags().ShorthandLookup(name)
	}
	if f := cmd.Flags().Lookup(name); f != nil {
		return f
	}
	return cmd.InheritedFlags().Lookup(name)
}

// checkLine wants a line of a shell block to be one that the command line takes.
func checkLine(t *testing.T, file, line string) {
	t.Helper()
	words := shellWord.FindAllString(shellEnd.ReplaceAllString(line, ""), -1)
	for i := range words {
		words[i] = strings.Trim(strings.TrimSuffix(words[i], ")"), `'"`)
	}
	cmd, rest, err := manualRoot().Find(words)
	if err == nil {
		err = cmd.ParseFlags(rest)
	}
	if err == nil {
		err = cmd.ValidateArgs(cmd.Flags().Args())
	}
	if err != nil {
		t.Errorf("%s: holdfast %s: %v", file, line, err)
	}
}

// TestReadmeListsEveryCommand: the list of the README has each command, and nothing else.
func TestReadmeListsEveryCommand(t *testing.T) {
	_, text, _ := strings.Cut(read(t, "../README.md"), "\n## Commands\n")
	block := fence.FindStringSubmatch(text)
	if block == nil {
		t.Fatal("the README has no list of commands")
	}
	said := map[string]string{}
	for line := range strings.Lines(block[2]) {
		name := strings.Fields(line)[1]
		said[name] += " " + line
	}
	for _, cmd := range (&cli{}).root().Commands() {
		line, there := said[cmd.Name()]
		if !there && cmd.GroupID != "" {
			t.Errorf("the README does not list %s", cmd.CommandPath())
		}
		for _, sub := range cmd.Commands() {
			if !regexp.MustCompile(`\b` + sub.Name() + `\b`).MatchString(line) {
				t.Errorf("the README does not list %s", sub.CommandPath())
			}
		}
	}
}
