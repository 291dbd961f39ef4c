package store

import (
	"context"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const listPage = 1000

// list answers ListObjectsV2 without delimiter. The order is the tree's own, which
// the continuation token holds on to.
func (b bucket) list(ctx context.Context, q url.Values) (*http.Response, error) {
	if q.Get("delimiter") != "" {
		return nil, fmt.Errorf("%w: list with a delimiter", errS3Unsupported)
	}
	after, err := base64.RawURLEncoding.DecodeString(q.Get("continuation-token"))
	if err != nil {
		return nil, fmt.Errorf("continuation token: %w", err)
	}
	limit, err := strconv.Atoi(q.Get("max-keys"))
	if err != nil || limit <= 0 || limit > listPage {
		limit = listPage
	}
	infos, err := b.files.List(ctx, q.Get("prefix"), string(after), limit)
	if err != nil {
		return nil, err
	}
	var out listing
	for _, i := range infos {
		out.Contents = append(out.Contents, listed{i.Name, i.Size, i.Modified.UTC().Format(time.RFC3339), strconv.Quote(i.ETag)})
	}
	out.KeyCount = len(infos)
	if len(infos) == limit {
		out.IsTruncated = true
		out.NextContinuationToken = base64.RawURLEncoding.EncodeToString([]byte(infos[limit-1].Name))
	}
	return document(out)
}

type listing struct {
	XMLName               xml.Name `xml:"ListBucketResult"`
	Contents              []listed
	KeyCount              int
	IsTruncated           bool
	NextContinuationToken string `xml:",omitempty"`
}

type listed struct {
	Key          string
	Size         int64
	LastModified string
	ETag         string
}

func (b bucket) beginUpload(r *http.Request, key string) (*http.Response, error) {
	id, err := b.files.CreateUpload(r.Context(), described(key, r.Header))
	if err != nil {
		return nil, err
	}
	return document(struct {
		XMLName  xml.Name `xml:"InitiateMultipartUploadResult"`
		UploadId string
	}{UploadId: id})
}

func (b bucket) putPart(r *http.Request, q url.Values) (*http.Response, error) {
	number, err := strconv.Atoi(q.Get("partNumber"))
	if err != nil {
		return nil, fmt.Errorf("part number: %w", err)
	}
	etag, err := b.files.PutPart(r.Context(), q.Get("uploadId"), number, bodyOf(r))
	res := empty(http.StatusOK)
	res.Header.Set("ETag", strconv.Quote(etag))
	return res, err
}

func (b bucket) completeUpload(r *http.Request, q url.Values) (*http.Response, error) {
	var order struct {
		Part []struct{ PartNumber int }
	}
	if err := xml.NewDecoder(bodyOf(r)).Decode(&order); err != nil {
		return nil, fmt.Errorf("parts: %w", err)
	}
	numbers := make([]int, len(order.Part))
	for i, part := range order.Part {
		numbers[i] = part.PartNumber
	}
	if _, err := b.files.Complete(r.Context(), q.Get("uploadId"), numbers); err != nil {
		return nil, err
	}
	return document(struct {
		XMLName xml.Name `xml:"CompleteMultipartUploadResult"`
	}{})
}
