package ui

import (
	"bytes"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"regexp"
	"strings"
	"sync"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
)

// The documentation has no scripts at all.
const docsPolicy = "default-src 'none'; style-src 'self'; img-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// chapter is one Markdown file: "10-start.md" is served at /docs/start.
type chapter struct {
	Slug  string
	Title string
	HTML  template.HTML
}

var (
	fileName = regexp.MustCompile(`^\d+-([a-z0-9-]+)\.md$`)
	heading  = regexp.MustCompile(`(?m)^# (.+)$`)
)

// lazyDocs renders the chapters when the first one is asked for: the start of
// the appliance does not wait for them.
func lazyDocs() http.Handler {
	built := sync.OnceValue(func() http.Handler {
		mux := http.NewServeMux()
		mountDocs(mux)
		return mux
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { built().ServeHTTP(w, r) })
}

func mountDocs(mux *http.ServeMux) {
	tree := sub("docs")
	chapters := loadChapters(tree)
	page := template.Must(template.ParseFS(tree, "page.html"))
	for i := range chapters {
		a := newAsset("page.html", render(page, chapters, i))
		mux.Handle("GET "+address(chapters[i].Slug), docsOnly(a))
	}
	mux.Handle("GET /docs/style.css", docsOnly(newAsset("style.css", docsStyle(tree))))
	lost := newAsset("page.html", render(page, append(chapters, chapter{
		Title: "Not found", HTML: "<h1>Not found</h1><p>There is no such chapter.</p>",
	}), len(chapters)))
	mux.Handle("GET /docs/", docsOnly(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		lost.serve(w, r, http.StatusNotFound)
	})))
}

// address of a chapter; the first one, "index", is the folder itself.
func address(slug string) string {
	if slug == "index" {
		return "/docs/{$}"
	}
	return "/docs/" + slug
}

func docsOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", docsPolicy)
		next.ServeHTTP(w, r)
	})
}

// docsStyle is the console's design tokens followed by the docs' own rules.
func docsStyle(tree fs.FS) []byte {
	tokens := read(files, "console/src/styles/tokens.css").body
	return append(append([]byte{}, tokens...), read(tree, "style.css").body...)
}

func loadChapters(tree fs.FS) []chapter {
	var list []chapter
	for _, name := range names(tree) {
		if match := fileName.FindStringSubmatch(name); match != nil {
			list = append(list, newChapter(markdown(), match[1], read(tree, name).body))
		}
	}
	return list
}

func markdown() goldmark.Markdown {
	return goldmark.New(
		goldmark.WithExtensions(extension.GFM),
		goldmark.WithParserOptions(parser.WithAutoHeadingID()),
	)
}

func newChapter(md goldmark.Markdown, slug string, source []byte) chapter {
	var out bytes.Buffer
	if err := md.Convert(source, &out); err != nil {
		panic(fmt.Sprintf("ui: render chapter %s: %v", slug, err))
	}
	title := slug
	if match := heading.FindSubmatch(source); match != nil {
		title = strings.TrimSpace(string(match[1]))
	}
	// Our own text; goldmark drops raw HTML unless told otherwise.
	return chapter{Slug: slug, Title: title, HTML: template.HTML(out.Bytes())}
}

func render(page *template.Template, chapters []chapter, at int) []byte {
	var out bytes.Buffer
	err := page.Execute(&out, map[string]any{
		"Chapters": chapters, "Chapter": chapters[at],
		"Previous": neighbour(chapters, at-1), "Next": neighbour(chapters, at+1),
	})
	if err != nil {
		panic(fmt.Sprintf("ui: draw chapter %s: %v", chapters[at].Slug, err))
	}
	return out.Bytes()
}

func neighbour(chapters []chapter, at int) *chapter {
	if at < 0 || at >= len(chapters) {
		return nil
	}
	return &chapters[at]
}
