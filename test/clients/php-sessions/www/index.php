<?php
session_start();
switch (strtok($_SERVER['REQUEST_URI'], '?')) {
    case '/in':
        $_SESSION['u'] = $_GET['u'];
        $_SESSION['cart'] = ['a' => [1, 'ü']];
        echo 'in';
        break;
    case '/slow':
        $n = $_SESSION['n'] ?? 0;
        usleep(150000);
        $_SESSION['n'] = $n + 1;
        echo $_SESSION['n'];
        break;
    case '/regen':
        session_regenerate_id(true);
        echo session_id();
        break;
    case '/out':
        session_destroy();
        echo 'out';
        break;
    default:
        $_SESSION['n'] = ($_SESSION['n'] ?? 0) + 1;
        echo json_encode(
            [
                'u' => $_SESSION['u'] ?? null,
                'n' => $_SESSION['n'],
                'c' => $_SESSION['cart'] ?? null,
            ],
            JSON_UNESCAPED_UNICODE,
        );
}
