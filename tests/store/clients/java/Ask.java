// What a program on the JVM asks the store, by the JDBC driver: `java -cp 'jars/*' Ask.java
// JDBC_URL USER PASSWORD`. Prints one `name=value` a line; whoever calls judges them.

import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.StringJoiner;

public class Ask {
    public static void main(String[] arguments) throws Exception {
        try (Connection connection =
                DriverManager.getConnection(arguments[0], arguments[1], arguments[2])) {
            say("ping", connection.isValid(5));
            DatabaseMetaData about = connection.getMetaData();
            try (ResultSet tables = about.getTables(null, "ws_one", "%", null)) {
                say("tables", column(tables, "TABLE_NAME"));
            }
            try (ResultSet columns = about.getColumns(null, "ws_one", "events", "%")) {
                say("columns", column(columns, "COLUMN_NAME"));
            }
            parameter(connection);
            row(connection);
            large(connection);
            say("code", code(connection, "SELECT nothing_of_this_name"));
            say("denied", code(connection, "SELECT * FROM file('/etc/hostname', 'LineAsString')"));
            cancel(connection);
        }
    }

    static void say(String name, Object value) {
        System.out.println(name + "=" + value);
    }

    static String column(ResultSet rows, String name) throws SQLException {
        StringJoiner found = new StringJoiner(",");
        while (rows.next()) found.add(rows.getString(name));
        return found.toString();
    }

    static void parameter(Connection connection) throws SQLException {
        String sql = "SELECT count() FROM events WHERE event = ? AND timestamp >= ?";
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            statement.setString(1, "a");
            statement.setString(2, "2026-01-01 00:00:00");
            try (ResultSet found = statement.executeQuery()) {
                found.next();
                say("parameter", found.getLong(1));
            }
        }
    }

    static void row(Connection connection) throws SQLException {
        String sql =
                "SELECT event, timestamp, toString(properties), [event] AS names,"
                        + " map('k', 1) AS numbers, CAST(NULL AS Nullable(String)) AS nothing"
                        + " FROM events ORDER BY timestamp LIMIT 1";
        try (Statement statement = connection.createStatement();
                ResultSet found = statement.executeQuery(sql)) {
            found.next();
            say("event", found.getString(1));
            say("timestamp", found.getTimestamp(2).toInstant());
            say("properties", found.getString(3));
            say("names", ((Object[]) found.getArray(4).getArray())[0]);
            say("numbers", found.getObject(5));
            say("nothing", found.getString(6));
        }
    }

    static void large(Connection connection) throws SQLException {
        String sql = "SELECT number, toString(number) FROM numbers(300000)";
        try (Statement statement = connection.createStatement();
                ResultSet found = statement.executeQuery(sql)) {
            long count = 0, sum = 0;
            while (found.next()) {
                long number = found.getLong(1);
                if (!String.valueOf(number).equals(found.getString(2)))
                    throw new IllegalStateException(number + " is not " + found.getString(2));
                count += 1;
                sum += number;
            }
            say("count", count);
            say("sum", sum);
        }
    }

    static int code(Connection connection, String sql) {
        try (Statement statement = connection.createStatement()) {
            statement.executeQuery(sql);
            return 0;
        } catch (SQLException error) {
            return error.getErrorCode();
        }
    }

    static void cancel(Connection connection) throws Exception {
        Statement statement = connection.createStatement();
        Thread canceller =
                new Thread(
                        () -> {
                            try {
                                Thread.sleep(500);
                                statement.cancel();
                            } catch (Exception error) {
                                say("cancelling", error);
                            }
                        });
        canceller.start();
        long began = System.currentTimeMillis();
        try {
            statement.executeQuery(
                    "SELECT count() FROM numbers(400000000)"
                            + " WHERE NOT ignore(sipHash64(repeat(toString(number), 50)))");
            say("cancelled", "answered");
        } catch (SQLException error) {
            boolean soon = System.currentTimeMillis() - began < 10_000;
            say("cancelled", soon ? "cancelled" : "late");
        }
        canceller.join();
    }
}
