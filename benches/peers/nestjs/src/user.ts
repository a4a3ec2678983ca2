/** The claims of a token. */
export interface User {
  sub: string;
  name?: string;
  role?: string;
  orders?: string[];
}
