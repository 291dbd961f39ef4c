package store

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/data"
	"holdfast/data/cryptfs"
)

// bucket speaks as much S3 as PocketBase's client asks for, over a store's sealed
// files: put, get with range, head, delete, delete many, list, multipart, copy.
// Requests never leave the process, so signatures are not looked at.
type bucket struct{ files *cryptfs.Files }

// answer makes an S3 answer of an error too, and tells what it was.
func (b bucket) answer(r *http.Request) (*http.Response, error) {
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/") // the bucket's name comes first
	res, err := b.route(r, key)
	if err != nil {
		res = failure(r, err)
	}
	res.Request = r
	return res, err
}

func (b bucket) route(r *http.Request, key string) (*http.Response, error) {
	q := r.URL.Query()
	switch method := r.Method; {
	case method == http.MethodGet && q.Get("list-type") == "2":
		return b.list(r.Context(), q)
	case method == http.MethodGet, method == http.MethodHead:
		return b.get(r, key)
	case method == http.MethodPut && q.Has("uploadId"):
		return b.putPart(r, q)
	case method == http.MethodPut && r.Header.Get("X-Amz-Copy-Source") != "":
		return b.copy(r, key)
	case method == http.MethodPut:
		return b.put(r, key)
	case method == http.MethodPost && q.Has("uploads"):
		return b.beginUpload(r, key)
	case method == http.MethodPost && q.Has("uploadId"):
		return b.completeUpload(r, q)
	case method == http.MethodPost && q.Has("delete"):
		return b.deleteMany(r)
	case method == http.MethodDelete && q.Has("uploadId"):
		return empty(http.StatusNoContent), b.files.Abort(r.Context(), q.Get("uploadId"))
	case method == http.MethodDelete:
		return b.delete(r.Context(), key)
	}
	return nil, fmt.Errorf("%w: %s %s", errS3Unsupported, r.Method, r.URL.RawQuery)
}

var errS3Unsupported = errors.New("not a call that PocketBase makes")

func (b bucket) get(r *http.Request, key string) (*http.Response, error) {
	body, info, err := b.files.Open(r.Context(), key)
	if err != nil {
		return nil, err
	}
	res := response(http.StatusOK, body)
	describe(res.Header, info)
	from, length, err := byteRange(r.Header.Get("Range"), info.Size)
	if err == nil && from >= 0 {
		_, err = body.Seek(from, io.SeekStart)
		res.StatusCode = http.StatusPartialContent
		res.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, from+length-1, info.Size))
		res.Body = limited{io.LimitReader(body, length), body}
	}
	if err != nil {
		return nil, errors.Join(err, body.Close())
	}
	res.ContentLength = length
	res.Header.Set("Content-Length", strconv.FormatInt(length, 10))
	if r.Method == http.MethodHead {
		res.Body = http.NoBody
		return res, body.Close()
	}
	return res, nil
}

type limited struct {
	io.Reader
	io.Closer
}

var errRange = errors.New("range not satisfiable")

// byteRange reads "bytes=a-b" and "bytes=a-". Without a range from is -1 and the
// length that of the whole.
func byteRange(header string, size int64) (from, length int64, err error) {
	spec, ok := strings.CutPrefix(header, "bytes=")
	if !ok {
		return -1, size, nil
	}
	first, last, _ := strings.Cut(spec, "-")
	from, err = strconv.ParseInt(first, 10, 64)
	if err != nil || from < 0 || from >= size {
		return 0, 0, errRange
	}
	to := size - 1
	if last != "" {
		if to, err = strconv.ParseInt(last, 10, 64); err != nil || to < from {
			return 0, 0, errRange
		}
	}
	return from, min(to, size-1) - from + 1, nil
}

const metaPrefix = "X-Amz-Meta-"

func describe(h http.Header, info data.FileInfo) {
	h.Set("Content-Type", info.ContentType)
	h.Set("ETag", strconv.Quote(strings.Trim(info.ETag, `"`)))
	h.Set("Last-Modified", info.Modified.UTC().Format(http.TimeFormat))
	for k, v := range info.Metadata {
		h.Set(k, v)
	}
}

// described is the inverse for what a client sends: PocketBase's own metadata and
// the few headers that it stores.
func described(name string, h http.Header) data.FileInfo {
	info := data.FileInfo{Name: name, ContentType: h.Get("Content-Type"), Metadata: map[string]string{}}
	for k, v := range h {
		kept := slices.Contains([]string{"Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language"}, k)
		if kept || strings.HasPrefix(k, metaPrefix) {
			info.Metadata[k] = v[0]
		}
	}
	return info
}

func (b bucket) put(r *http.Request, key string) (*http.Response, error) {
	info, err := b.files.Put(r.Context(), described(key, r.Header), bodyOf(r))
	res := empty(http.StatusOK)
	res.Header.Set("ETag", strconv.Quote(info.ETag))
	return res, err
}

func bodyOf(r *http.Request) io.Reader {
	if r.Body == nil {
		return http.NoBody
	}
	return r.Body
}

func (b bucket) copy(r *http.Request, key string) (*http.Response, error) {
	source, err := url.PathUnescape(r.Header.Get("X-Amz-Copy-Source"))
	if err != nil {
		return nil, err
	}
	_, from, _ := strings.Cut(strings.TrimPrefix(source, "/"), "/")
	body, info, err := b.files.Open(r.Context(), from)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	info.Name = key
	info, err = b.files.Put(r.Context(), info, body)
	if err != nil {
		return nil, err
	}
	return document(struct {
		XMLName      xml.Name `xml:"CopyObjectResult"`
		ETag         string
		LastModified string
	}{ETag: strconv.Quote(info.ETag), LastModified: info.Modified.UTC().Format(time.RFC3339)})
}

func (b bucket) delete(ctx context.Context, key string) (*http.Response, error) {
	err := b.files.Delete(ctx, key)
	if errors.Is(err, data.ErrNotFound) {
		err = nil // as S3 has it
	}
	return empty(http.StatusNoContent), err
}

func (b bucket) deleteMany(r *http.Request) (*http.Response, error) {
	var order struct {
		Object []struct{ Key string }
	}
	if err := xml.NewDecoder(bodyOf(r)).Decode(&order); err != nil {
		return nil, err
	}
	for _, o := range order.Object {
		if _, err := b.delete(r.Context(), o.Key); err != nil {
			return nil, err
		}
	}
	return document(struct {
		XMLName xml.Name `xml:"DeleteResult"`
	}{})
}

func empty(code int) *http.Response { return response(code, http.NoBody) }

func response(code int, body io.ReadCloser) *http.Response {
	return &http.Response{
		StatusCode: code, Status: http.StatusText(code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: body,
	}
}

func document(v any) (*http.Response, error) {
	raw, err := xml.Marshal(v)
	res := response(http.StatusOK, io.NopCloser(bytes.NewReader(raw)))
	res.Header.Set("Content-Type", "application/xml")
	res.ContentLength = int64(len(raw))
	return res, err
}

// failure is S3's answer for an error.
func failure(r *http.Request, err error) *http.Response {
	code, name := http.StatusInternalServerError, "InternalError"
	switch {
	case errors.Is(err, data.ErrNotFound):
		code, name = http.StatusNotFound, "NoSuchKey"
	case errors.Is(err, errRange):
		code, name = http.StatusRequestedRangeNotSatisfiable, "InvalidRange"
	case errors.Is(err, errS3Unsupported):
		code, name = http.StatusNotImplemented, "NotImplemented"
	}
	res, _ := document(struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
	}{Code: name, Message: err.Error()})
	res.StatusCode, res.Status = code, http.StatusText(code)
	if r.Method == http.MethodHead {
		res.Body, res.ContentLength = http.NoBody, 0
	}
	return res
}
