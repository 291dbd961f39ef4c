package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/filesystem"
	"github.com/pocketbase/pocketbase/tools/hook"
	"github.com/pocketbase/pocketbase/tools/router"

	"holdfast/data/cryptfs"
)

// A form with files is read here, past PocketBase: what is small stays in memory,
// a large file goes into a sealed spool on the store's disk as it comes in, and
// only its first bytes are shown to PocketBase's parsing (which looks at them for
// the type). Before the record is saved each file gets its whole content back. So
// memory stays flat whatever is sent, and nothing lies on a disk in clear.

const (
	smallFile = 64 << 10 // bytes of a file that stay in memory; of a larger one only these do
	mostParts = 1000     // parts of a form, as in net/http
)

// intake is one request's files that are too large for memory.
type intake struct {
	store  *Store
	body   *countedBody
	small  int64 // bytes of a file that stay in memory
	spool  *cryptfs.Spool
	alive  func() // tells the connection that the body moves
	spools []spooled
	large  map[*multipart.FileHeader]spooled
}

// spooled is a file's place in the spool, in order of the form's file parts; size
// is 0 for one that stayed in memory.
type spooled struct{ from, size int64 }

// intakeKey is where an event keeps its intake.
const intakeKey = "hfIntake"

// takeForm reads the event's form and leaves the request as PocketBase finds it
// after parsing by itself.
func (s *Store) takeForm(e *core.RequestEvent, copied *router.RereadableReadCloser, limit int64) (done func(), err error) {
	f := &intake{store: s, alive: keepAlive(e.Response), large: map[*multipart.FileHeader]spooled{}}
	if f.small = limit; spools(e.Request) {
		f.small = smallFile
	}
	f.body = &countedBody{ReadCloser: copied.ReadCloser, store: &s.bodies, pool: &s.pool.bodies, limit: limit}
	if err := f.read(e.Request, copied); err != nil {
		f.close()
		return nil, f.refusal(err)
	}
	e.Set(intakeKey, f)
	return f.close, nil
}

func (f *intake) read(r *http.Request, copied *router.RereadableReadCloser) error {
	r.Body = f.body
	in, err := r.MultipartReader()
	if err != nil {
		return err
	}
	reduced, err := f.reduce(in)
	if err != nil {
		return err
	}
	if f.spool != nil {
		if err := f.spool.Finish(); err != nil {
			return err
		}
	}
	return f.parse(r, copied, reduced)
}

// reduce copies the form with the beginnings of its large files only.
func (f *intake) reduce(in *multipart.Reader) (*reducedForm, error) {
	out := newReducedForm()
	for n := 0; ; n++ {
		part, err := in.NextPart()
		if err == io.EOF { // as it is: a form without its end has one that is wrapped
			return out, out.Close()
		}
		if err != nil {
			return nil, err
		}
		if n == mostParts {
			return nil, multipart.ErrMessageTooLarge
		}
		if part.FormName() == "" {
			continue
		}
		if err := f.part(out, part); err != nil {
			return nil, err
		}
	}
}

func (f *intake) part(out *reducedForm, part *multipart.Part) error {
	w, err := out.CreatePart(part.Header)
	if err != nil {
		return err
	}
	if part.FileName() == "" {
		_, err = io.Copy(w, inMemory{part, f.body})
		return err
	}
	head, err := io.ReadAll(inMemory{io.LimitReader(part, f.small+1), f.body})
	if err != nil {
		return err
	}
	var place spooled
	if int64(len(head)) > f.small {
		if place, err = f.spoolFile(io.MultiReader(bytes.NewReader(head), part)); err != nil {
			return err
		}
	}
	f.spools, out.files = append(f.spools, place), append(out.files, part.FormName())
	_, err = w.Write(head)
	return err
}

func (f *intake) spoolFile(r io.Reader) (spooled, error) {
	if f.spool == nil {
		files, err := f.store.pool.filesOf(f.store.seat)
		if err != nil {
			return spooled{}, err
		}
		if f.spool, err = files.NewSpool(); err != nil {
			return spooled{}, err
		}
	}
	from := f.spool.Size()
	_, err := io.Copy(f.spool, onDisk{r, f})
	return spooled{from, f.spool.Size() - from}, err
}

// parse lets net/http read the reduced form, from memory to memory.
func (f *intake) parse(r *http.Request, copied *router.RereadableReadCloser, reduced *reducedForm) error {
	kind := r.Header.Get("Content-Type")
	r.Body, r.MultipartForm = io.NopCloser(&reduced.Buffer), nil
	r.Header.Set("Content-Type", reduced.FormDataContentType())
	err := r.ParseMultipartForm(2*int64(reduced.Len()) + smallBody) // more than it holds: nothing spills
	r.Header.Set("Content-Type", kind)
	copied.ReadCloser = http.NoBody
	r.Body = copied
	if r.ContentLength < 0 {
		r.ContentLength = f.body.read // PocketBase compares it with its own limits
	}
	if err != nil {
		return err
	}
	return f.match(r.MultipartForm, reduced)
}

// match finds the header of each large file again: a name's files keep their order.
func (f *intake) match(parsed *multipart.Form, reduced *reducedForm) error {
	taken := map[string]int{}
	next := 0
	for _, name := range reduced.files {
		headers := parsed.File[name]
		if taken[name] >= len(headers) || next >= len(f.spools) {
			return errors.New("the form reads otherwise the second time")
		}
		header, place := headers[taken[name]], f.spools[next]
		taken[name]++
		next++
		if place.size > 0 {
			header.Size = place.size
			f.large[header] = place
		}
	}
	return nil
}

// refusal is what the client is told.
func (f *intake) refusal(err error) error {
	var refused *router.ApiError
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.Is(err, syscall.ENOSPC):
		f.store.pool.config.Logger.Error("the disk is full under an upload", "store", f.store.id.String(), "error", err)
		return router.NewApiError(http.StatusInsufficientStorage, "The disk is full: nothing was written.", nil)
	}
	return router.NewBadRequestError("Failed to read the form.", err)
}

func (f *intake) close() {
	f.body.done()
	if f.spool != nil {
		f.store.pool.spooled.give(f.spool.Size())
		f.store.spooled.give(f.spool.Size())
		_ = f.spool.Close() // nothing is kept of it
	}
}

// inMemory counts what is read as memory.
type inMemory struct {
	io.Reader
	body *countedBody
}

func (m inMemory) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	if n > 0 && !m.body.take(2*int64(n)) { // here, and in what net/http makes of it
		return 0, errNoMemory
	}
	return n, err
}

// onDisk counts what is read against the disk that uploads may take at once.
type onDisk struct {
	io.Reader
	intake *intake
}

func (d onDisk) Read(p []byte) (int, error) {
	n, err := d.Reader.Read(p)
	d.intake.alive()
	if n == 0 {
		return n, err
	}
	if !d.intake.store.spooled.take(int64(n)) {
		return 0, errNoSpool
	}
	if !d.intake.store.pool.spooled.take(int64(n)) {
		d.intake.store.spooled.give(int64(n))
		return 0, errNoSpool
	}
	return n, err
}

var errNoSpool = router.NewApiError(http.StatusServiceUnavailable, "Too many large uploads at once, try again.", nil)

// keepAlive moves the deadline of the answer while a body comes in: it is the
// request's, and a large upload takes longer.
func keepAlive(w http.ResponseWriter) func() {
	control, last := http.NewResponseController(w), time.Now()
	return func() {
		if now := time.Now(); now.Sub(last) > requestTimeout/10 {
			last = now
			_ = control.SetWriteDeadline(now.Add(requestTimeout)) // a test's recorder has none
		}
	}
}

// reducedForm is a form as it goes to net/http, and the names of its file parts.
type reducedForm struct {
	bytes.Buffer
	*multipart.Writer
	files []string
}

func newReducedForm() *reducedForm {
	r := &reducedForm{}
	r.Writer = multipart.NewWriter(&r.Buffer)
	return r
}

// bindIntake gives each uploaded file its whole content before PocketBase looks at
// it, and refuses to save one that is not whole.
func (s *Store) bindIntake() {
	restore := &hook.Handler[*core.RecordRequestEvent]{Id: "hfIntake", Priority: -900, Func: func(e *core.RecordRequestEvent) error {
		if f, ok := e.Get(intakeKey).(*intake); ok {
			f.restore(e.Record)
		}
		return e.Next()
	}}
	s.app.OnRecordCreateRequest().Bind(restore)
	s.app.OnRecordUpdateRequest().Bind(restore)
	s.app.OnRecordValidate().Bind(&hook.Handler[*core.RecordEvent]{Id: "hfWhole", Priority: -900, Func: func(e *core.RecordEvent) error {
		for _, file := range unsaved(e.Record) {
			if err := checkWhole(file); err != nil {
				return err
			}
		}
		return e.Next()
	}})
}

func unsaved(r *core.Record) (files []*filesystem.File) {
	for _, field := range r.Collection().Fields {
		if field.Type() == core.FieldTypeFile {
			files = append(files, r.GetUnsavedFiles(field.GetName())...)
		}
	}
	return files
}

// restore puts readers of the spool in place of those of the beginnings.
func (f *intake) restore(r *core.Record) {
	for _, file := range unsaved(r) {
		m, ok := file.Reader.(*filesystem.MultipartReader)
		if !ok {
			continue
		}
		if place, ok := f.large[m.Header]; ok {
			file.Reader = spooledFile{f.spool, place}
		}
	}
}

// spooledFile is PocketBase's reader of a file in a spool.
type spooledFile struct {
	spool *cryptfs.Spool
	spooled
}

var _ filesystem.FileReader = spooledFile{}

// Open reads the file from its beginning.
func (f spooledFile) Open() (io.ReadSeekCloser, error) { return f.spool.Open(f.from, f.size) }

// checkWhole sees that a form's file is as long as it says: what restore missed
// would be stored cut short.
func checkWhole(file *filesystem.File) error {
	if _, ok := file.Reader.(*filesystem.MultipartReader); !ok {
		return nil
	}
	r, err := file.Reader.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	size, err := r.Seek(0, io.SeekEnd)
	if err == nil && size != file.Size {
		err = fmt.Errorf("uploaded file: %d bytes of %d: %w", size, file.Size, io.ErrUnexpectedEOF)
	}
	return err
}

func isForm(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/form-data")
}
