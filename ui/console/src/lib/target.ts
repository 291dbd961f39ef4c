export interface TargetForm {
  kind: string;
  bucket: string;
  prefix: string;
  endpoint: string;
  region: string;
  folder: string;
}

// targetUrl writes a target's address as the API and the CLI take it:
// s3://bucket/prefix?endpoint=…&region=… or file:///folder.
export function targetUrl(form: TargetForm): string {
  if (form.kind !== 's3') return `file://${form.folder.trim()}`;
  const path = [form.bucket, form.prefix].map((part) => part.trim().replace(/^\/+|\/+$/g, '')).filter(Boolean);
  const search = new URLSearchParams();
  if (form.endpoint.trim()) search.set('endpoint', form.endpoint.trim());
  if (form.region.trim()) search.set('region', form.region.trim());
  const parameters = search.toString();
  return `s3://${path.join('/')}${parameters ? `?${parameters}` : ''}`;
}
