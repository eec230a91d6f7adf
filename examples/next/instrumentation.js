// Runs once, when the server starts.

export async function register() {
  if (process.env.NEXT_RUNTIME === "nodejs") {
    const { pool, service } = await import("./database.js");
    await service.migrate();
    await pool.query(
      "CREATE TABLE IF NOT EXISTS orders (id serial PRIMARY KEY, item text NOT NULL)",
    );
    console.log(`/orders is served by process ${process.pid}`);
  }
}
