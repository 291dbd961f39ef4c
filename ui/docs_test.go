package ui

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

func chapterAddresses() []string {
	var list []string
	for _, c := range loadChapters(sub("docs")) {
		list = append(list, strings.TrimSuffix(address(c.Slug), "{$}"))
	}
	return list
}

func TestEveryChapterIsServed(t *testing.T) {
	list := chapterAddresses()
	if len(list) < 8 || list[0] != "/docs/" {
		t.Fatalf("chapters %v, want the index first and the others after it", list)
	}
	for _, target := range list {
		response := ask(t, "GET", target)
		body := text(t, response)
		if response.StatusCode != http.StatusOK || strings.Count(body, "<h1") != 1 {
			t.Errorf("%s: status %d, %d first headings", target, response.StatusCode, strings.Count(body, "<h1"))
		}
		if !strings.Contains(body, `aria-current="page"`) {
			t.Errorf("%s: the chapter is not marked in the list", target)
		}
	}
}

// A link inside the documentation that leads nowhere fails here.
func TestLinksBetweenChapters(t *testing.T) {
	link := regexp.MustCompile(`(?:href|src)="(/[^"#]*)`)
	for _, target := range chapterAddresses() {
		for _, match := range link.FindAllStringSubmatch(text(t, ask(t, "GET", target)), -1) {
			if status := ask(t, "GET", match[1]).StatusCode; status != http.StatusOK {
				t.Errorf("%s links to %s: status %d", target, match[1], status)
			}
		}
	}
}

func TestDocsStyleBeginsWithTheTokens(t *testing.T) {
	response := ask(t, "GET", "/docs/style.css")
	body := text(t, response)
	if !strings.HasPrefix(response.Header.Get("Content-Type"), "text/css") {
		t.Errorf("content type %q", response.Header.Get("Content-Type"))
	}
	if !strings.Contains(body, "--accent:") || !strings.Contains(body, ".layout") {
		t.Error("the style misses the tokens or its own rules")
	}
	for _, match := range regexp.MustCompile(`url\('([^']+)'\)`).FindAllStringSubmatch(body, -1) {
		if status := ask(t, "GET", match[1]).StatusCode; status != http.StatusOK {
			t.Errorf("the style needs %s: status %d", match[1], status)
		}
	}
}

func TestUnknownChapter(t *testing.T) {
	response := ask(t, "GET", "/docs/nothing")
	if response.StatusCode != http.StatusNotFound || !strings.Contains(text(t, response), "no such chapter") {
		t.Errorf("status %d, want 404 that says so", response.StatusCode)
	}
}

// What somebody writes into a chapter stays text.
func TestMarkdownCarriesNoHTML(t *testing.T) {
	c := newChapter(markdown(), "x", []byte("# T\n\n<script>alert(1)</script> [x](javascript:alert)\n"))
	if strings.Contains(string(c.HTML), "<script") || strings.Contains(string(c.HTML), "javascript:") {
		t.Errorf("raw HTML went through: %s", c.HTML)
	}
}
